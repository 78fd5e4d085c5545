"""A model behind HTTP: `graft serve`. It reads a model and its card, never params.yaml.

app        routes, and what each answers
bodies     from the body of a request to images
work       images through the model, within limits of time and of a queue
watched    what /metrics says
page.html  where a person drops a photo
run        processes and ports
"""
