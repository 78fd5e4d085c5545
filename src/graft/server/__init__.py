"""A model behind HTTP: `graft serve`. It reads a model and its card, never params.yaml.

app         routes, and what each answers
bodies      from the body of a request to examples
images      what they look like there, and where a label came from; texts likewise
kinds       which of these a model reads
work        examples through the model, within limits of time and of a queue
watched     what /metrics says
page        for people: image.html.j2 where a photo is dropped, text.html.j2 where a text is written
run         processes and ports
"""
