"""The terms of the loss: a file an idea, each a function of a step's context and the term's data; and the registry."""
