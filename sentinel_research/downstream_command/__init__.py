"""`sentinel downstream`: its flags, the recipe that they stand for, and the files it writes."""
