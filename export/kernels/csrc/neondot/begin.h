// Opens a file's part with dot product instructions; end.h closes it. No include guard: once per file, behind all other
// headers, so that no inline function of theirs is compiled for them and then shared with code that runs on older
// processors.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
