"""What goes over topics: the table of topics, and messages to and from numpy. No ROS: messages are anything with the fields of the type."""
