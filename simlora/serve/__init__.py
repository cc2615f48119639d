"""An OpenAI-compatible server that takes the time a real one would: a stand-in for load tests."""
