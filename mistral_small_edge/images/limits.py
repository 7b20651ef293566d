"""What a picture may be at most, so that none takes the machine down.

Checked from a file's header, before anything is decoded. A photograph of any camera or telephone
is well within; what is beyond is a mistake, a scientific data set or an attack.
"""

MAX_BYTES = 64_000_000  # of a file, as it is stored or sent
MAX_PIXELS = 64_000_000  # of a picture; decoded, that is 256 MB
MAX_FILE_SIDE = 65_535  # pixels of either side
MAX_FRAMES_COUNTED = 1_000  # of an animation or a document; what comes after stays uncounted
MAX_SCANS = 100  # of a JPEG, each over all of its pixels; a progressive one has about ten
