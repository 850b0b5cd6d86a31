"""A small world of drawn scenes, with models of its own, where everything can be tried and measured."""
