"""What it costs: the bill divided, the whole month, alternatives and the life of adapters."""
