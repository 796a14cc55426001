"""What `cavvy doctor` looks at: one file a subject. Nothing is changed, and no secret is in any finding.

`finding` is what they all return, `look` puts them together. `disk`, `files`, `holder`, `network` and `models` look at
what their names say.
"""
