"""The search for the cheapest fleet: a space of configurations, bounds on it, and trials of it."""
