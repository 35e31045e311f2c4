"""The extension list: every .pyx below ext/ is one module, named by its path. Nothing else lives here."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = ["-O3", "-fno-plt", "-fno-semantic-interposition", "-Wno-unused-function"]

setup(
    ext_modules=cythonize(
        [
            Extension(".".join(path.with_suffix("").parts), [str(path)], extra_compile_args=FLAGS)
            for path in sorted(Path("ext").rglob("*.pyx"))
        ],
        nthreads=2,
        language_level=3,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
    options={"build_ext": {"parallel": 2}},
)
