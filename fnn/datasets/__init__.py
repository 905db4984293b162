"""Data as values: datasets, batches, codecs, and the loaders that read them from files."""

from fnn.datasets.bundled import digits, parity
from fnn.datasets.dataset import Batches, Dataset, batches
from fnn.datasets.idx import read_idx, write_idx
from fnn.datasets.image_files import image_folder, read_image
from fnn.datasets.mnist_files import find_mnist, mnist
from fnn.datasets.one_hot import OneHot
from fnn.datasets.stand_in import handwriting
from fnn.datasets.toy import blobs, circles, spirals, two_moons
from fnn.datasets.weights import class_weights

__all__ = [
    "Batches",
    "Dataset",
    "OneHot",
    "batches",
    "blobs",
    "circles",
    "class_weights",
    "digits",
    "find_mnist",
    "handwriting",
    "image_folder",
    "mnist",
    "parity",
    "read_idx",
    "read_image",
    "spirals",
    "two_moons",
    "write_idx",
]
