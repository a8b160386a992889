"""The benchmark of Mamba against ResNet-BK as one command, by recipes of the package.

The flags, file names and field names are those of a published script whose numbers could not be
had from it: it trained nothing in some modes and measured no held-out text in any. Here a request
becomes one recipe per dataset, the pipeline runs it, and the files are written from its record.
"""
