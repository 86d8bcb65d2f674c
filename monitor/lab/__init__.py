"""The small model trained here: its synthetic world, its training, its measured behaviour and the
traffic made from it.
"""
