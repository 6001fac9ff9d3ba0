"""A box, worked out by hand."""

import numpy as np

from scanward.box import Box, flat

BOX = Box(2, 30, 10, 5, 50, 20)


def test_its_slices_hold_what_its_size_says_and_make_it_again():
    image = np.zeros((8, 60, 40))
    assert image[BOX.slices].shape == BOX.size == (3, 20, 10)
    assert Box.of(BOX.slices) == BOX
    assert BOX.centre == (3.5, 40, 15)


def test_millimetres_run_from_the_images_corner():
    assert BOX.in_mm((2.5, 0.5, 0.25)) == (5, 15, 2.5, 12.5, 25, 5)
    assert BOX.in_mm(None) is None


def test_files_hold_x_first_and_no_z_of_a_single_image():
    assert flat(BOX, planar=False) == [10, 30, 2, 20, 50, 5]
    assert flat(Box(0, 30, 10, 1, 50, 20), planar=True) == [10, 30, 20, 50]
