"""What the phases share: configuration, list of phases, sources, resources, locks."""
