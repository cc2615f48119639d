"""An OpenAI-compatible server: over the real engine, or as fast as one would be, for load tests."""
