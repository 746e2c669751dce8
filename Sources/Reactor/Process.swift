import CIOUring
import Glibc

/// The process's limits on open descriptors, after they were raised as far as they go.
package struct DescriptorLimit: Equatable, Sendable {
  /// What the process may open now.
  package let count: Int
  /// What it could open before.
  package let before: Int

  /// Raises the soft limit (RLIMIT_NOFILE) to the hard limit. A refusal leaves it where it was.
  package static func raise() -> DescriptorLimit {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      return DescriptorLimit(count: 1024, before: 1024)
    }
    let before = clamped(limit.rlim_cur)
    limit.rlim_cur = limit.rlim_max
    let raised = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
    return DescriptorLimit(count: raised ? clamped(limit.rlim_max) : before, before: before)
  }

  /// "No limit" is a number too large for Int.
  private static func clamped(_ value: rlim_t) -> Int { Int(min(value, rlim_t(Int32.max))) }
}

/// The pages of the program and its libraries that the process has mapped.
package enum ProgramPages {
  /// Unmaps them all. What is still needed is mapped again when it is used, from the page cache; what only starting
  /// needed, megabytes of it, isn't, and the kernel may drop it when memory is short.
  package static func forget() { kvd_unmap_program() }
}

/// The processors this process may use.
package struct Processors: Equatable, Sendable {
  /// The numbers of those its threads may run on (sched_getaffinity).
  package let allowed: [Int]
  /// Processor time per time that its control group grants, nil without a quota; 1.5 is one and a half processors.
  package let quota: Double?

  /// Threads that make sense: the allowed processors, but no more than the quota rounded up, and at least 1.
  package var usable: Int {
    let byQuota = quota.map { Int($0.rounded(.up)) } ?? allowed.count
    return max(1, min(allowed.count, byQuota))
  }

  /// The processors that this process may run on now.
  package static func current() -> Processors {
    var cpus = [Int32](repeating: 0, count: 8192)
    let count = Int(kvd_allowed_cpus(&cpus, Int32(cpus.count)))
    let allowed = count > 0 ? cpus[..<count].map(Int.init) : [0]
    return Processors(allowed: allowed, quota: ControlGroup.quota(membership: readSmallFile("/proc/self/cgroup") ?? ""))
  }

  package init(allowed: [Int], quota: Double?) {
    self.allowed = allowed
    self.quota = quota
  }
}

/// The processor quota of control groups, version 2 (`cpu.max`) and 1 (`cpu.cfs_quota_us`).
enum ControlGroup {
  /// The smallest quota on the way from the process's group to the root.
  ///
  /// - Parameter membership: the text of `/proc/self/cgroup`: lines `id:controllers:path`.
  static func quota(membership: String, read: (String) -> String? = { readSmallFile($0) }) -> Double? {
    var smallest: Double?
    func note(_ value: Double?) { if let value { smallest = min(smallest ?? value, value) } }
    for line in membership.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let controllers = parts[1].split(separator: ",")
      for path in ancestors(String(parts[2])) {
        if parts[0] == "0" && controllers.isEmpty {
          note(read("/sys/fs/cgroup\(path)/cpu.max").flatMap(version2))
        } else if controllers.contains("cpu") {
          for mount in ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"] {
            guard let quota = read("\(mount)\(path)/cpu.cfs_quota_us"),
              let period = read("\(mount)\(path)/cpu.cfs_period_us")
            else { continue }
            note(ratio(quota[...], period[...]))
          }
        }
      }
    }
    return smallest
  }

  /// "max 100000" or "150000 100000".
  static func version2(_ text: String) -> Double? {
    let parts = text.split(whereSeparator: \.isWhitespace)
    return parts.count == 2 ? ratio(parts[0], parts[1]) : nil
  }

  private static func ratio(_ quota: Substring, _ period: Substring) -> Double? {
    func number(_ text: Substring) -> Double? {
      Int(text.filter { !$0.isWhitespace }).flatMap { $0 > 0 ? Double($0) : nil }
    }
    guard let quota = number(quota), let period = number(period) else { return nil }
    return quota / period
  }

  /// "/a/b" → "/a/b", "/a", "" (the root, which inside a container is the container's own group).
  private static func ancestors(_ path: String) -> [String] {
    var result: [String] = []
    var rest = path == "/" ? "" : path
    while !rest.isEmpty, result.count < 64, let slash = rest.lastIndex(of: "/") {
      result.append(rest)
      rest = String(rest[..<slash])
    }
    return result + [""]
  }
}

/// The first 16 KiB of a file of the kernel's; nil if it can't be read.
func readSmallFile(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  return withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 1) { buffer in
    let count = read(descriptor, buffer.baseAddress!, buffer.count)
    return count >= 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
  }
}
