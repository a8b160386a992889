"""`sentinel explore`: a local page on which a person takes heads, neurons, blocks out of a model.

`session` holds the state and knows no page, `server` answers the page's requests and nobody
else's, `page/` is what the browser gets.
"""
