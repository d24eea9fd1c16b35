# A recipe for Spack: spack repo add cluster/packaging/spack && spack install espalier
# Written from the build's own CMakeLists.txt; it has not been run, for want of Spack on the machine
# that espalier is built and tested on.
import os

from spack.package import *


class Espalier(CMakePackage):
    """Prunes very large neural networks in parallel and runs sparse batch inference on them."""

    # The clone that this recipe lies in.
    git = "file://" + os.path.realpath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))
    version("main", branch="main")

    depends_on("cxx", type="build")
    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("mpi@3:")
    depends_on("hdf5@1.10.8: +mpi+hl~cxx")
    depends_on("highway@1.0.3:")
    depends_on("boost@1.74: +program_options")
    depends_on("nlohmann-json@3.9:")
    depends_on("isa-l")
    depends_on("zlib-api")
    depends_on("openssl")

    def cmake_args(self):
        return [self.define("ESPALIER_TESTS", False)]
