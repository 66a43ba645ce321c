// What keeps the library from asking for a newer C library than ONNX Runtime does.
#include <cstdlib>

#if defined(__GLIBC__)
// glibc has it since 2.32; a static libstdc++ reads it to save atomic instructions where only one thread runs. This
// one, unseen outside the library, says that there are always more.
extern "C" {
extern char __libc_single_threaded;
char __libc_single_threaded = 0;
}
#endif
