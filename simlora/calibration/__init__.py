"""Read measurements of a real server; fit a timing profile to them and judge it."""
