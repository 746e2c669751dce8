import Glibc

/// What other processes of this machine used.
enum ProcessUsage {
  /// Processor seconds, user and system, that the processes have used so far, all threads; in steps of 10 ms
  /// (proc(5), `/proc/PID/stat`, fields 14 and 15). Nil if one of them is gone.
  static func cpuSeconds(_ pids: [Int]) -> Double? {
    var ticks = 0
    for pid in pids {
      guard let bytes = readFile("/proc/\(pid)/stat", limit: 4096) else { return nil }
      // The name, in parentheses, may hold anything; fields are counted behind it.
      let text = String(decoding: bytes, as: UTF8.self)
      guard let close = text.lastIndex(of: ")") else { return nil }
      let fields = text[close...].split(separator: " ")
      guard fields.count > 13, let user = Int(fields[12]), let system = Int(fields[13]) else { return nil }
      ticks += user + system
    }
    return Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }
}
