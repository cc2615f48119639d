"""How fast and how large: printed, never asserted, because machines differ."""
