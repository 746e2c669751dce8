/// A member that has the struct around it passed by its address.
///
/// A struct of plain members is a value to the compiler, however large it is: it copies the whole of it to the stack
/// for each call of a method that isn't `mutating`, even if the struct can't be copied in the source. A `Core` has
/// 3 KiB. One with a member whose layout isn't known until run time stays where it is.
struct Anchor: Sendable {
  private let nothing: any Sendable = ()
}
