"""Log-likelihoods of continuations: what is read, in which passes, by which process."""
