"""The shared kit's pages with this room's templates."""

from functools import partial

from scanward.web import pages

page = partial(pages.page, package="scanward.review")
