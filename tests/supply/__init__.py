"""What swarm is made of beside itself: locked packages, their licences, a bill of materials, an audit."""
