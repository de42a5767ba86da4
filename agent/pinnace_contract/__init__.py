"""Everything that travels between server and device, or stands under a signature.

The package imports the standard library and a CBOR codec, nothing else: both programs, the simulator and the converters
share it. Message types live in ``v1`` and are re-exported by ``latest``; ``codec`` turns bytes into them and back;
``topics`` is the only place that knows a topic string. Signing and checking signatures is left to the programs.
"""
