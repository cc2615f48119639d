"""What the user asks: the scenario schema, its YAML files, the catalog, the expansion."""
