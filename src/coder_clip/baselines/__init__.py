"""The few-shot methods, one module each (`coder_clip.baselines.methods` says what it declares), and what they are
made of: `few_shot` what a method is given and does, `grids` their searches,
`zero_shot` the classifiers without shots."""
