"""Speed, measured so that it cannot flatter: what `sentinel bench` does and the file it writes.

Every speed is a ratio to a named alternative that was measured in the same run, in turns with it.
`schema` is the layout of the file, `timing` how pairs are measured, and each section has a module.
"""
