// Loops over work items that other people's threads run.
#pragma once
#include <cstddef>

namespace platon {

// Runs body(data, i) for every i in [0, total), in any order, on any thread; returns when all are done.
using ParallelFor = void (*)(void* pool, void (*body)(void* data, size_t i), size_t total, void* data);

// parallel_for over item(call, i). Whatever an item throws, the first of it at least, is thrown again here when all are
// done: an exception that left a worker thread would end the process.
void run_items(ParallelFor parallel_for, void* pool, size_t total, void (*item)(void* call, size_t i), void* call);

}  // namespace platon
