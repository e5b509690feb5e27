"""The network: an encoder, a decoder and the heads on the features that they share.

`network.Network` is what the rest of the project sees; it is put together from the packages in here.
"""
