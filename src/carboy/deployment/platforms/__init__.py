"""Write the files by which hosting platforms run an app: `carboy deploy --to PLATFORM`.

`deploycommand` is the command. `hosting` has what the platforms have in common: a `Platform`, and
the `Release` of an app for which a platform's module writes the files. `sizing` turns the measured
memory of an app into the memory of a container. The other modules are the platforms: `cloudrun`,
`flyio`, `heroku`, `kubernetes`, `rendercom` and `spaces`.
"""
