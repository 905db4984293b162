"""Bridges to other systems, one room for each, imported only by who asks for it.

`fnn.interop.sklearn`, `fnn.interop.onnx`, `fnn.interop.torch`, `fnn.interop.jax`,
`fnn.interop.safetensors`; each needs the extra of its name: `pip install "fnn[onnx]"`.
"""
