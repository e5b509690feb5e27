"""The layers that encoders, decoders and heads are built of."""
