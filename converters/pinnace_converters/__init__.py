"""From a model file to checked variants: sandboxed passes, parity, golden vectors, baseline, and a draft release."""

from pinnace_converters.conversion import convert as convert
from pinnace_converters.declaration import Declaration as Declaration
from pinnace_converters.draft import Draft as Draft
from pinnace_converters.options import Limits as Limits
from pinnace_converters.options import Options as Options
from pinnace_converters.progress import Progress as Progress
