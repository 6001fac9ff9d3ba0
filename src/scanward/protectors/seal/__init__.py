"""The seals of earlier versions: a keyed pattern woven into the image, and a record beside it. None is made any more;
here they are read, held against, and taken out. The site's key is made and read here, too."""

from scanward.protectors.seal.keys import make_key, read_key
from scanward.protectors.seal.record import Record, from_json
from scanward.protectors.seal.unweave import changed, unweave

__all__ = ["Record", "changed", "from_json", "make_key", "read_key", "unweave"]
