"""Predictions against what real servers did: recipes of published runs, a runner, a judgement."""
