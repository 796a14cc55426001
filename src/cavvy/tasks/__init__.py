"""The built-in tasks: deterministic, without a model, in time linear in the text. Pure: no I/O, clock or dice.

`built_in.run_task` is what others call; `summary`, `sentiment` and `json_scan` are the tasks; `sentences`, `words` and
`lexicon` are what they know of languages.
"""
