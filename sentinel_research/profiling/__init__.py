"""`sentinel profile`: what pruning, optimisation levels and extra paths cost or buy, measured."""
