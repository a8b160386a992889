"""Does agency help a model that loses heads? Five arms under the published flags.

A request becomes recipes, one for every model, repetition and temperature, and the pipeline runs
them; only the speed of the arms is measured here, in turns.
"""
