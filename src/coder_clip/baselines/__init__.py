"""What CODER is compared with, on the same features: one module a method, `zero_shot` for those without shots."""
