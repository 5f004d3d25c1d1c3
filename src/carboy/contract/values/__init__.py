"""Types of values that JSON cannot express (images, tensors, tables, files, text).

kind    `ValueKind`: the interface of them all; `registry` has the classes
image   images; `jpegscans` counts the scans of JPEG files
tensor  NumPy arrays; `npy` reads files of NumPy, `nested` lists of JSON
tables  DataFrames
file    uploaded files as they are
text    texts and bytes of whole files

`unpacked` limits the memory that the images and tables of one request take together.
"""
