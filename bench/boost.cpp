// Native cost of an allocation: libarraypool against Boost.Interprocess's managed_shared_memory, which allocates in shared
// memory, too, and whose metadata does not survive a process that dies in the middle. The same work as native.c, in turn,
// round by round; one JSON object a line.
//
//     zig c++ -O2 -I libpool -I /usr/include bench/boost.cpp -o /tmp/boost -L lib/linux-x64 -larraypool
//     LD_LIBRARY_PATH=lib/linux-x64 /tmp/boost [name]
#include <boost/interprocess/managed_shared_memory.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "arraypool.h"

namespace ipc = boost::interprocess;

namespace {

constexpr int rounds = 5, operations = 50000;

std::uint64_t state = 88172645463325252ull;
std::uint64_t random64() {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

double now_ns() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const std::string &name, const std::vector<double> &pool_ns, const std::vector<double> &boost_ns) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < pool_ns.size(); i++) ratios.push_back(boost_ns[i] / pool_ns[i]);
  std::printf("{\"name\": \"%s\", \"pool_ns\": %.1f, \"boost_ns\": %.1f, \"ratio\": %.3f}\n", name.c_str(), median(pool_ns),
              median(boost_ns), median(ratios));
  std::fflush(stdout);
}

template <class Size> void churn(const std::string &name, ap_pool *pool, ipc::managed_shared_memory &segment, int live, Size size) {
  std::vector<std::int32_t> blocks;
  std::vector<void *> pointers;
  for (int i = 0; i < live; i++) {
    std::uint32_t bytes = size();
    blocks.push_back(ap_block_alloc(pool, bytes, AP_UINT8, AP_UNINITIALIZED));
    pointers.push_back(segment.allocate(bytes));
  }
  std::vector<double> pool_ns, boost_ns;
  std::vector<std::uint32_t> sizes(operations), places(operations);
  for (int round = -1; round < rounds; round++) {
    for (int i = 0; i < operations; i++) sizes[i] = size(), places[i] = random64() % live;
    double begun = now_ns();
    for (int i = 0; i < operations; i++) {
      segment.deallocate(pointers[places[i]]);
      pointers[places[i]] = segment.allocate(sizes[i]);
    }
    double between = now_ns();
    for (int i = 0; i < operations; i++) {
      ap_block_release(pool, blocks[places[i]], 1);
      blocks[places[i]] = ap_block_alloc(pool, sizes[i], AP_UINT8, AP_UNINITIALIZED);
    }
    double end = now_ns();
    if (round < 0) continue;
    boost_ns.push_back((between - begun) / operations);
    pool_ns.push_back((end - between) / operations);
  }
  for (int i = 0; i < live; i++) ap_block_release(pool, blocks[i], 1), segment.deallocate(pointers[i]);
  print(name, pool_ns, boost_ns);
}

std::uint32_t power_of_two() { return 64u << random64() % 10; }
std::uint32_t uniform() { return 64 + random64() % (32768 - 64 + 1); }
std::uint32_t small_power_of_two() { return 64u << random64() % 6; }
std::uint32_t small_uniform() { return 64 + random64() % (2048 - 64 + 1); }

} // namespace

int main(int count, char **arguments) {
  const std::string name = count > 1 ? arguments[1] : "bench-boost";
  const std::string file = "arraypool." + name + "-boost"; // named so that the benchmark finds what is left of it
  ipc::shared_memory_object::remove(file.c_str());
  double report[AP_REPORT_LENGTH];
  ap_pool *pool = ap_pool_create(name.c_str(), 3.0 * (1 << 30), 0, AP_RUNTIME_NATIVE, report);
  if (!pool) return std::fprintf(stderr, "no pool: error %g\n", report[AP_REPORT_CODE]), 1;
  {
    ipc::managed_shared_memory segment(ipc::create_only, file.c_str(), std::size_t(3) << 30);
    churn("4 KB", pool, segment, 1, [] { return std::uint32_t(4096); });
    churn("powers of two, 64 B to 32 KiB, 1,000 live", pool, segment, 1000, power_of_two);
    churn("powers of two, 64 B to 32 KiB, 100,000 live", pool, segment, 100000, power_of_two);
    churn("any size, 64 B to 32 KiB, 1,000 live", pool, segment, 1000, uniform);
    churn("any size, 64 B to 32 KiB, 100,000 live", pool, segment, 100000, uniform);
    churn("powers of two, 64 B to 2 KiB, 1,000,000 live", pool, segment, 1000000, small_power_of_two);
    churn("any size, 64 B to 2 KiB, 1,000,000 live", pool, segment, 1000000, small_uniform);
  }
  ipc::shared_memory_object::remove(file.c_str());
  ap_pool_close(pool, 0);
  return 0;
}
