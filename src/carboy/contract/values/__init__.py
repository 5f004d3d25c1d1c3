"""Types of values that JSON cannot express (images, tensors, tables, files, text), one module per
type.
"""
