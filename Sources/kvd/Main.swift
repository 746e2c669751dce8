import Engine
import Reactor

@main struct Kvd {
  static func main() {}
}
