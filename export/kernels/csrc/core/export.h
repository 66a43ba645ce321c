// Marks the few symbols that the shared library shows; everything else is hidden.
#pragma once

#if defined(_WIN32)
#define PLATON_EXPORT extern "C" __declspec(dllexport)
#else
#define PLATON_EXPORT extern "C" __attribute__((visibility("default")))
#endif
