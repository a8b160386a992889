"""Prune a model and train it back as one command, by recipes of the package.

The flags are those of two published scripts, most of which did nothing there. Here a request
becomes one recipe, and the pipeline runs it, with the controls that every recovery has.
"""
