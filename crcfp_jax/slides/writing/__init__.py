"""The files of a result, written row by row while the network is at work.

Each writer takes bands of finished rows from the top to the bottom and holds no whole slide.
"""
